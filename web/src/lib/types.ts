// What the server says, as docs/api.md has it. null is "unknown" or "none", never 0.

export type Zone = 'device' | 'site' | 'cloud';

export interface Caps { chat: boolean; tools: boolean; images: boolean; json: boolean; reasoning: boolean }

export interface Model {
  id: string;
  where: 'local' | 'provider';
  provider: string;
  zone: Zone;
  usable: boolean;
  note: string | null;
  context: number;
  caps: Caps;
  loaded?: boolean;
  found?: boolean;
  bytes?: number;
  params?: number;
  queued?: number;
  decode_tps?: number;
  prefill_tps?: number;
}

export interface Provider {
  name: string; url: string | null; dialect: string; zone: Zone;
  key: boolean; key_source: string | null; found: boolean; configured: boolean; models: number;
}

export interface Status {
  version: string;
  page: string | null;
  preset: 'hybrid' | 'private';
  offline: boolean;
  budget: { limit_nano: number | null; charged_nano: number; healthy: boolean };
  machine: {
    cpu: string | null; threads: number; kernels: string; memory_free: number; read_bytes_s: number;
    runs_up_to: string | null; at_tokens_s: number;
  };
  models: Model[];
  providers: Provider[];
}

export interface Choice {
  id: string; provider: string; model: string; zone: Zone;
  p_suffices: number; expected_quality: number;
  cost_nano: number | null; cost_bound_nano: number | null; first_ms: number | null; total_ms: number | null;
  score: number; quality_source: string | null; price_source: string | null;
  removed?: string; because?: string | null; obstacles?: string[];
}

export interface Plan {
  verdict: 'local' | 'cloud' | 'none';
  error: string | null;
  model: string | null;
  why: string;
  sentence: string | null;
  header: string | null;
  difficulty: number;
  request: {
    prompt_tokens: number; prompt_exact: boolean; output_tokens: number; zone: Zone; zone_reason: string | null;
    task: string; need: number; signals: string[];
  };
  ranked: Choice[];
  removed: Choice[];
  would_be: Choice | null;
  would_sentence: string | null;
}

export interface Row {
  id: string; time_ms: number; time: string;
  status: 'ok' | 'error' | 'cancelled' | 'open' | 'crashed';
  code: string | null; message: string | null; end_reason: string | null;
  kind: string | null; dialect: string | null; stream: boolean;
  model_asked: string | null; model: string | null; model_answered: string | null;
  provider: string | null; zone: Zone | null; req_zone: Zone | null; reason: string | null;
  labels: string[] | null; plan?: Plan | null;
  conversation: string | null; client: string | null; attempts: number;
  input: number; cached: number; cache_write: number; output: number; reasoning: number; estimated: boolean;
  reserved_nano: number | null; cost_nano: number | null; cost: string;
  baseline_nano: number | null; baseline: string; baseline_model: string | null;
  saved_nano: number | null; saved: string; price: string | null;
  queue_ms: number | null; first_ms: number | null; total_ms: number | null; tokens_per_s: number | null;
}

export interface Sums {
  requests: number; failed: number; cancelled: number; open: number;
  input: number; cached: number; output: number; estimated: number; unknown_cost: number;
  cost_nano: number | null; cost: string; baseline_nano: number | null; baseline: string;
  saved_nano: number | null; saved: string;
}
export type By = 'model' | 'day' | 'month' | 'provider' | 'zone';
export interface Costs { by: By; from_ms: number; groups: (Sums & { group: string })[]; total: Sums }

export interface Failure { code: string; status: number; message: string }

export type StreamEvent =
  | ({ type: 'route' } & Plan)
  | { type: 'start'; model: string }
  | { type: 'text' | 'reasoning'; text: string }
  | { type: 'tool'; tool: number; id: string; name: string }
  | { type: 'tool_args'; tool: number; text: string }
  | { type: 'done'; reason: string }
  | ({ type: 'error' } & Failure)
  | ({ type: 'account' } & Row);

export interface ToolCall { tool: number; id: string; name: string; args: string }

export interface Message {
  id: string;
  role: 'user' | 'assistant';
  text: string;
  reasoning?: string;
  tools?: ToolCall[];
  plan?: Plan;
  row?: Row;
  requestId?: string;
  failure?: Failure;
  end?: string;
  stopped?: boolean;
}
