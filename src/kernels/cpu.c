/* cpu.c: asks the processor which instructions it has and the operating system which registers it
 * saves. Called once by kern.c. */
#include "cpu_int.h"

#if defined(__x86_64__)

#include <cpuid.h>
#include <stdbool.h>
#include <stdint.h>

#define XCR0_YMM 0x06u /* xmm and ymm state is saved */
#define XCR0_ZMM 0xe6u /* also masks and zmm */

static uint32_t xgetbv0(void)
{
    uint32_t lo, hi;
    __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
    return lo;
}

static bool all(uint32_t have, uint32_t want)
{
    return (have & want) == want;
}

enum cpu_set cpu_best(void)
{
    uint32_t a, b, c, d, b7, c7;
    if (!__get_cpuid(1, &a, &b, &c, &d))
        return CPU_C;
    if (!all(c, bit_FMA | bit_AVX | bit_F16C | bit_OSXSAVE) || !all(xgetbv0(), XCR0_YMM))
        return CPU_C;
    if (!__get_cpuid_count(7, 0, &a, &b7, &c7, &d) || !all(b7, bit_AVX2 | bit_BMI2))
        return CPU_C;
    if (!all(xgetbv0(), XCR0_ZMM) || !all(c7, bit_AVX512VNNI))
        return CPU_AVX2;
    if (!all(b7, bit_AVX512F | bit_AVX512BW | bit_AVX512VL | bit_AVX512DQ))
        return CPU_AVX2;
    return CPU_AVX512VNNI;
}

#elif defined(__aarch64__) && defined(__linux__)

#include <sys/auxv.h>

#define HAS_DOT_PRODUCT (1ul << 20) /* HWCAP_ASIMDDP */

enum cpu_set cpu_best(void)
{
    return getauxval(AT_HWCAP) & HAS_DOT_PRODUCT ? CPU_NEON : CPU_C;
}

#else

enum cpu_set cpu_best(void)
{
    return CPU_C;
}

#endif
