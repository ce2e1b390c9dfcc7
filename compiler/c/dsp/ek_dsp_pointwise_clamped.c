#include "ek_dsp_pointwise.h"

EK_DSP_CONV2D(ek_dsp_pointwise_clamped) {
    ek_dsp_pointwise(p, input, output, scratch, ek_finish_clamped);
}
