#include "ek_helium_depthwise.h"
#include "ek_helium_kernels.h"

EK_HELIUM_DEPTHWISE(ek_helium_depthwise_rectified) {
    ek_helium_depthwise(p, input, output, scratch, ek_round_rectified);
}
