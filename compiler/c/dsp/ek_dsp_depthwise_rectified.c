#include "ek_dsp_depthwise.h"

EK_DSP_DEPTHWISE(ek_dsp_depthwise_rectified) {
    ek_dsp_depthwise(p, input, output, scratch, ek_finish_rectified);
}
