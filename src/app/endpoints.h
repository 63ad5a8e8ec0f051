/* endpoints.h: what paths exist and who answers them. */
#ifndef WEIR_ENDPOINTS_H
#define WEIR_ENDPOINTS_H

#include "house.h"

/* A request over TCP: keys are checked, paths to files are not accepted as models. */
void endpoints_public(void *house, struct net_req *r);
/* A request over the owner's Unix socket: the same user, by the file's mode. */
void endpoints_local(void *house, struct net_req *r);

/* net_server_params.body_limit: uploads are streamed. */
/* net_server_params.refuse: in the dialect of the path. */
void endpoints_refuse(void *house, struct net_req *r, int status, const char *why);
size_t endpoints_body_limit(void *house, struct str method, struct str path);

#endif
