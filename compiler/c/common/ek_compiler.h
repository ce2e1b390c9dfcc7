/* What differs between compilers. */
#ifndef EK_COMPILER_H
#define EK_COMPILER_H

/* A body that takes its innermost step as an argument must be inlined to become one loop. */
#if defined(__GNUC__)
#define EK_INLINE static inline __attribute__((always_inline, unused))
#else
#define EK_INLINE static inline
#endif

/* Whether words may be loaded from any address, and a copy of four bytes is two instructions. */
#if defined(__GNUC__) && (defined(__ARM_FEATURE_UNALIGNED) || defined(__x86_64__))
#define EK_WORDS_ANYWHERE 1
#else
#define EK_WORDS_ANYWHERE 0
#endif

#endif
