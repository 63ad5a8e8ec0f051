/* cpu_int.h: what the processor and its operating system allow. */
#ifndef WEIR_CPU_INT_H
#define WEIR_CPU_INT_H

enum cpu_set { CPU_C, CPU_AVX2, CPU_AVX512VNNI, CPU_NEON };

/* The widest set this build, processor and operating system can run. */
enum cpu_set cpu_best(void);

#endif
