#include "ek_helium_pointwise.h"
#include "ek_helium_kernels.h"

EK_HELIUM_CONV2D(ek_helium_pointwise_rectified) {
    ek_helium_pointwise(p, input, output, scratch, ek_round_rectified);
}
