#include "ek_helium_conv2d.h"
#include "ek_helium_kernels.h"

EK_HELIUM_CONV2D(ek_helium_conv2d_rectified) {
    ek_helium_conv2d(p, input, output, scratch, ek_round_rectified);
}
