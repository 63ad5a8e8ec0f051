/* page.c: serving the embedded page, with the policy that keeps it to itself: nothing from
 * elsewhere is loaded, nothing frames it, and it talks to nobody but this server. */
#include "page.h"

#include <string.h>

static const char policy[] =
    "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

static const struct page_file *find(struct str path)
{
    if (str_is(path, "/"))
        path = STR("/index.html");
    for (const struct page_file *f = page_files; f->path; f++)
        if (str_is(path, f->path))
            return f;
    return NULL;
}

bool page_serve(struct net_req *r)
{
    const struct page_file *f = find(net_req_path(r));
    if (!f)
        return false;
    net_res_header(r, "Content-Security-Policy", str_of(policy));
    net_res_header(r, "X-Content-Type-Options", STR("nosniff"));
    net_res_header(r, "Referrer-Policy", STR("no-referrer"));
    net_res_header(r, "Vary", STR("Accept-Encoding"));
    net_res_header(r, "ETag", str_of(f->etag));
    /* Names under /assets/ carry a digest of their content; index.html must always be asked for. */
    bool fixed = strncmp(f->path, "/assets/", 8) == 0;
    net_res_header(r, "Cache-Control",
                   fixed ? STR("public, max-age=31536000, immutable") : STR("no-cache"));
    if (str_is(net_req_header(r, "if-none-match"), f->etag)) {
        net_res_send(r, 304, f->type, STR_NONE);
        return true;
    }
    bool gzip = str_find(net_req_header(r, "accept-encoding"), STR("gzip"), 0) != SIZE_MAX;
    if (gzip)
        net_res_header(r, "Content-Encoding", STR("gzip"));
    net_res_send(r, 200, f->type,
                 gzip ? str_n((const char *)f->gz, f->ngz) : str_n((const char *)f->raw, f->nraw));
    return true;
}
