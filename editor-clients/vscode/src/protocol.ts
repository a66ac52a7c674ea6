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
  /** Unix seconds. */
  created: number;
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

/** `neuralforge/status`: what the server tells by itself when it has changed. */
export interface LiveStatus {
  enabled: boolean;
  engine: { state: string; base: string };
  stack: StackEntry[];
  learning: Learning;
  /** Milliseconds of the last suggestion, inside the server. */
  latency_ms: number | null;
  shown: number;
  /** Share of what was shown lately that was accepted, whole or part. */
  acceptance: number | null;
}

export interface Learning {
  enabled: boolean;
  running: boolean;
  paused: boolean;
  state: string;
  job: string;
  percent: number;
  step: number;
  steps: number;
  message: string;
  version: string | null;
}

/** Of `neuralforge.train.state`: why no training is at work. */
export interface TrainingState {
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

/** Of `neuralforge.status`, what the live status does not have. */
export interface ServerStatus {
  engine: { restarts: number };
  stack: StackEntry[];
  home: string;
  profile: string;
}
