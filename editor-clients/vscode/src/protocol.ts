/**
 * What the server's commands answer, as far as this client reads it; see docs/lsp-commands.md.
 */

export interface StackEntry {
  adapter: string;
  scale: number;
}

export interface AdapterRow {
  adapter: string;
  name: string;
  version: number;
  current: boolean;
  /** Its scale in the stack in force; null where it is not loaded. */
  scale: number | null;
  base: string;
  /** Whether it was made for the base in use. */
  fits: boolean;
  rank: number | null;
  created: string;
  bytes: number;
  em: number | null;
  es: number | null;
}

export interface AdapterList {
  adapters: AdapterRow[];
  stack: StackEntry[];
}

export interface StackRow {
  name: string;
  adapters: (StackEntry & { means: string | null; em?: number | null; es?: number | null })[];
  base: string;
  fits: boolean;
  problem: string;
  in_force: boolean;
}

export interface StackList {
  stacks: StackRow[];
  stack: StackEntry[];
}

export interface BaseRow {
  name: string;
  state: string;
  path: string | null;
  bytes: number;
  licence: string;
  source: string;
}

export interface BaseList {
  bases: BaseRow[];
  /** What the setting `engine.base` names, which goes before a choice. */
  setting: string | null;
}

export interface BaseUse {
  result: 'already' | 'switched' | 'awaited';
  path: string;
  training: string | null;
  setting: string | null;
}

export interface TrainerState {
  job: string;
  state: string;
  step: number;
  steps: number;
  percent: number;
  message: string;
  version: string | null;
}

export interface TrainingState {
  trainer: TrainerState | null;
  running: boolean;
  paused: boolean;
  /** Why no training is at work. */
  reason: string;
}

export interface LogRow {
  id: string;
  created: number;
  path: string | null;
  line: number;
  language: string;
  text: string;
  outcome: string | null;
  latency_ms: number;
}

export interface ServerStatus {
  engine: {
    state: string;
    restarts: number;
    base: string;
    info: { name: string } | null;
  };
  stack: StackEntry[];
  log: { error: string } | { overall: { shown: number; acceptance_rate: number | null } } | null;
  trainer: TrainerState | null;
  home: string;
  profile: string;
}
