#include "ek_dsp_conv2d.h"

EK_DSP_CONV2D(ek_dsp_conv2d_signed) {
    ek_dsp_conv2d(p, input, output, scratch, ek_finish_signed);
}
