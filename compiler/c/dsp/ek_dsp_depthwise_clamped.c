#include "ek_dsp_depthwise.h"

EK_DSP_DEPTHWISE(ek_dsp_depthwise_clamped) {
    ek_dsp_depthwise(p, input, output, scratch, ek_finish_clamped);
}
