/* load.c: what other threads see of an engine: how busy it is, what it has done, what it holds. The
 * engine's thread copies its numbers under the lock after each step; readers copy them from there.
 */
#include "cache_int.h"

void engine_note_started(struct engine *en, struct engine_run *r)
{
    (void)r;
    pthread_mutex_lock(&en->lock);
    en->queued--;
    pthread_mutex_unlock(&en->lock);
}

void engine_note_ended(struct engine *en, const struct engine_run *r, enum engine_end end)
{
    struct engine_totals *t = &en->totals;
    const struct engine_stats *s = &r->stats;
    t->requests++;
    t->cancelled += end == ENGINE_END_CANCEL;
    t->failed += end == ENGINE_END_ERROR;
    t->queued_ns += s->queued_ns;
    if (!r->started)
        return;
    t->prompt += (uint64_t)s->prompt;
    t->reused += (uint64_t)s->reused;
    t->restored += (uint64_t)s->restored;
    t->generated += (uint64_t)s->generated;
    t->guessed += (uint64_t)s->guessed;
    t->kept += (uint64_t)s->kept;
    t->prefill_ns += s->prefill_ns;
    t->decode_ns += s->decode_ns;
    t->disk_hits += s->restored > 0;
    t->memory_hits += s->reused > 0 && s->restored == 0;
}

/* Locked. */
static void fill_slots(struct engine *en)
{
    for (int i = 0; i < en->parallel; i++)
        en->slots[i] = (struct engine_slot){.id = i};
    for (const struct engine_run *r = en->runs; r; r = r->next) {
        if (r->state != RUN_ACTIVE)
            continue;
        int64_t held = model_seq_len(r->session->seq);
        bool reads = held + 1 < r->stats.prompt;
        en->slots[r->slot] = (struct engine_slot){
            .id = r->slot,
            .state = r->paused ? ENGINE_SLOT_PAUSED
                     : reads   ? ENGINE_SLOT_PREFILL
                               : ENGINE_SLOT_DECODE,
            .run = r->number,
            .caller = r->job.caller,
            .held = held,
            .prompt = r->stats.prompt,
            .generated = r->stats.generated,
            .reused = r->stats.reused,
            .max_tokens = r->job.max_tokens,
        };
    }
}

void engine_note_load(struct engine *en)
{
    struct engine_load l = {
        .running = en->active,
        .kv_used = en->kv ? model_kv_used(en->kv) : 0,
        .kv_total = en->kv ? model_kv_total(en->kv) : 0,
        .kv_resident = en->kv ? model_kv_resident(en->kv) : 0,
        .prefill_tps = en->prefill_tps,
        .decode_tps = en->decode_tps,
        .weights = model_weight_bytes(en->m),
        .scratch = en->scratch,
        .totals = en->totals,
    };
    if (en->cache)
        cache_folder_count(en->cache->folder, &l.cache_files, &l.cache_bytes);
    pthread_mutex_lock(&en->lock);
    l.queued = en->queued;
    en->load = l;
    if (en->slots)
        fill_slots(en);
    pthread_mutex_unlock(&en->lock);
}

void engine_load_of(struct engine *en, struct engine_load *out)
{
    pthread_mutex_lock(&en->lock);
    *out = en->load;
    pthread_mutex_unlock(&en->lock);
}

int engine_slots(struct engine *en, struct engine_slot *out, int most)
{
    pthread_mutex_lock(&en->lock);
    for (int i = 0; en->slots && i < en->parallel && i < most; i++)
        out[i] = en->slots[i];
    pthread_mutex_unlock(&en->lock);
    return en->slots ? en->parallel : 0;
}

/* ---- writing all to disk ---- */

bool engine_flushing(struct engine *en)
{
    pthread_mutex_lock(&en->lock);
    bool flushing = en->flushing;
    pthread_mutex_unlock(&en->lock);
    return flushing;
}

void engine_note_flushed(struct engine *en)
{
    pthread_mutex_lock(&en->lock);
    if (en->flushing) {
        en->flushing = false;
        pthread_cond_broadcast(&en->served);
    }
    pthread_mutex_unlock(&en->lock);
}

void engine_flush(struct engine *en)
{
    if (!en->cache)
        return;
    pthread_mutex_lock(&en->lock);
    en->flushing = en->poked = true;
    pthread_cond_signal(&en->wake);
    while (en->flushing)
        pthread_cond_wait(&en->served, &en->lock);
    pthread_mutex_unlock(&en->lock);
}
