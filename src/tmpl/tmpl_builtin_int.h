/* tmpl_builtin_int.h: what the files of built-ins share. Private to tmpl/; not a second tmpl_int.h:
 * only filters, tests, methods and globals know it. */
#ifndef WEIR_TMPL_BUILTIN_H
#define WEIR_TMPL_BUILTIN_H

#include "tmpl_int.h"

enum text_case { CASE_UPPER, CASE_LOWER, CASE_CAPITAL, CASE_TITLE, CASE_TITLE_FILTER };
struct val text_recase(struct ctx *c, struct val v, enum text_case how);
struct val text_strip_args(struct ctx *c, const struct args *a, struct val v, bool left,
                           bool right);
struct val text_replace(struct ctx *c, struct val v, struct val old, struct val new, int64_t count);

builtin_fn seq_dictsort, seq_first, seq_items, seq_join, seq_last, seq_list, seq_map, seq_max,
    seq_min, seq_reject, seq_rejectattr, seq_reverse, seq_select, seq_selectattr, seq_sort, seq_sum,
    seq_unique;

const struct builtin *builtin_in(const struct builtin *v, size_t n, struct str name);

#endif
