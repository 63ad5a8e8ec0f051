/* lmstudio.h: the paths of LM Studio's REST API that ask and change what models there are. */
#ifndef WEIR_LMSTUDIO_H
#define WEIR_LMSTUDIO_H

#include "house.h"

void lmstudio_models(struct house *h, struct net_req *r);   /* GET /api/v1/models */
void lmstudio_load(struct house *h, struct net_req *r);     /* POST /api/v1/models/load */
void lmstudio_unload(struct house *h, struct net_req *r);   /* POST /api/v1/models/unload */
void lmstudio_download(struct house *h, struct net_req *r); /* POST /api/v1/models/download */
/* GET /api/v1/models/download/status/JOB */
void lmstudio_status(struct house *h, struct net_req *r, struct str rest);

#endif
