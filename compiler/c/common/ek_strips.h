/* Layers that run together, strip by strip: what model.c needs beside their kernels. */
#ifndef EK_STRIPS_H
#define EK_STRIPS_H

#include "ek_compiler.h"
#include "ek_patch.h"

/* A function that stays one, so that its cost can be told from that of others. */
#if defined(__GNUC__)
#define EK_NOINLINE __attribute__((noinline))
#else
#define EK_NOINLINE
#endif

#endif
