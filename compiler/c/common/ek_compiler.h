/* What differs between compilers. */
#ifndef EK_COMPILER_H
#define EK_COMPILER_H

/* A body that takes its innermost step as an argument must be inlined to become one loop. */
#if defined(__GNUC__)
#define EK_INLINE static inline __attribute__((always_inline, unused))
#else
#define EK_INLINE static inline
#endif

#endif
