/* status.h: what the page and the command line ask about: models, providers, machine, costs, past
 * requests. */
#ifndef WEIR_STATUS_H
#define WEIR_STATUS_H

#include "house.h"

void status_house(struct house *h, struct net_req *r);  /* GET /weir/v1/status */
void status_models(struct house *h, struct net_req *r); /* GET /weir/v1/models: for a picker */
void status_openai_models(struct house *h, struct net_req *r);               /* GET /v1/models */
void status_openai_model(struct house *h, struct net_req *r, struct str id); /* GET /v1/models/ID */
void status_costs(struct house *h, struct net_req *r); /* GET /weir/v1/costs?by=&since= */
void status_openai_model(struct house *h, struct net_req *r,
                         struct str id);                  /* GET /v1/models/NAME */
void status_requests(struct house *h, struct net_req *r); /* GET /weir/v1/requests?limit=&before= */
void status_request(struct house *h, struct net_req *r,
                    struct str id); /* GET /weir/v1/requests/ID */
void status_provider_test(struct house *h,
                          struct net_req *r); /* POST /weir/v1/providers/test?name= */

#endif
