/* page.h: the page, embedded in the executable. */
#ifndef WEIR_PAGE_H
#define WEIR_PAGE_H

#include "net.h"

struct page_file {
    const char *path, *type, *etag;
    const unsigned char *raw;
    size_t nraw;
    const unsigned char *gz;
    size_t ngz;
};

/* Made at build time from src/app/page/; ends with a row of zeros. */
extern const struct page_file page_files[];

/* Answer a GET for a file of the page ("/" is index.html). False: there is no such file. */
bool page_serve(struct net_req *r);

#endif
