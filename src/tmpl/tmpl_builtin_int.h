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

struct keyed {
    struct val key, item, shown;
};
struct val seq_attr(struct ctx *c, struct val v, struct val path);
struct val seq_fold(struct ctx *c, struct val v, bool exact);
/* The items in the order of their keys; v is left in it. */
struct val seq_sorted(struct ctx *c, struct keyed *v, size_t n, bool down);

void text_pad(struct ctx *c, struct sb *b, struct str fill, size_t n); /* n times */
builtin_fn text_format;                                                /* str.format */
builtin_fn seq_groupby, seq_batch, seq_slice, global_cycler, global_joiner;
const struct builtin *layout_method(struct str name); /* of strings */
const struct builtin *layout_filter(struct str name);
const struct builtin *group_method(enum val_kind kind, struct str name);

const struct builtin *builtin_in(const struct builtin *v, size_t n, struct str name);

#endif
