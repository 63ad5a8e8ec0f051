/* chat.h: the conversation at the terminal. */
#ifndef WEIR_CHAT_H
#define WEIR_CHAT_H

#include "client.h"

/* Until Ctrl-D or end of input. Returns an exit code. */
int chat_loop(struct client *c, const struct settings *s);

#endif
