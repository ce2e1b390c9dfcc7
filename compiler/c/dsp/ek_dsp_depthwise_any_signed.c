#include "ek_dsp_depthwise_any.h"

EK_DSP_DEPTHWISE_ANY(ek_dsp_depthwise_any_signed) {
    ek_dsp_depthwise_any(p, input, output, scratch, ek_finish_signed);
}
