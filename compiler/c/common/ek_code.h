/* The codes that a walk goes over: int16_t for kernels that define EK_INT16 first, else int8_t. */
#ifndef EK_CODE_H
#define EK_CODE_H

#include <stdint.h>

#ifdef EK_INT16
typedef int16_t ek_code;
#define EK_FINER_BITS 15
#else
typedef int8_t ek_code;
#define EK_FINER_BITS 20
#endif

#endif
