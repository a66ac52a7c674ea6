/**
 * What the status bar and the details say of the server and of learning. Pure.
 */
import type { Learning, LiveStatus } from '../protocol.ts';
import type { ServerState } from '../session.ts';
import type { More } from '../status.ts';
import { percentText, stackText } from './rows.ts';

/** Everything that the status is made of. */
export interface Facts {
  state: ServerState;
  live: LiveStatus | null;
  /** Milliseconds of the last answer that held a suggestion, as VS Code waited for it. */
  latency: number | null;
  /** Whether the active document may be completed. */
  allowed: boolean;
}

export interface Look {
  text: string;
  tooltip: string;
  /** The user has to act. */
  warns: boolean;
}

const NAME = 'NeuralForge';

/** The item in the status bar. */
export function look(facts: Facts): Look {
  const { state } = facts;
  switch (state.kind) {
    case 'running':
      return running(facts);
    case 'starting':
      return calm('sync~spin', 'starting', 'The server is starting.');
    case 'stopped':
      return calm('circle-slash', 'stopped', 'The server is stopped.');
    case 'untrusted':
      return warning('off: workspace not trusted', 'Trust this workspace to use NeuralForge.');
    case 'missing':
      return warning('no server', 'Install the server of NeuralForge, or say where it lies.');
    case 'failed':
      return warning('server failed', state.message);
  }
}

function running(facts: Facts): Look {
  const { live } = facts;
  const tooltip = tooltipOf(facts);
  if (live === null) return calm('sync~spin', 'loading', 'The server is starting.');
  if (!live.enabled || !facts.allowed) return calm('circle-slash', 'off here', tooltip);
  if (live.engine.state === 'failed') return warning('engine failed', tooltip);
  if (live.engine.state === 'starting' || live.engine.state === 'restarting') {
    return calm('sync~spin', 'loading', tooltip);
  }
  const parts = [NAME, ...learningPart(live.learning)];
  if (facts.latency !== null) parts.push(`${Math.round(facts.latency)} ms`);
  return { text: `$(sparkle) ${parts.join(' · ')}`, tooltip, warns: false };
}

function calm(icon: string, short: string, tooltip: string): Look {
  return { text: `$(${icon}) ${NAME}: ${short}`, tooltip, warns: false };
}

function warning(short: string, tooltip: string): Look {
  return { text: `$(warning) ${NAME}: ${short}`, tooltip, warns: true };
}

function learningPart(learning: Learning): string[] {
  if (!learning.running) return [];
  const share = learning.steps > 0 ? ` ${learning.percent} %` : '';
  return isPaused(learning)
    ? [`$(debug-pause) paused${share}`]
    : [`$(mortar-board) learning${share}`];
}

/** Whether a training waits because the user said so. */
export function isPaused(learning: Learning): boolean {
  return learning.paused || learning.state === 'paused';
}

/** Name and value of everything that the details show. */
export function details(facts: Facts, more: More | null = null): [string, string][] {
  const { live, state } = facts;
  if (live === null) return [['Server', look(facts).tooltip]];
  const version = state.kind === 'running' && state.version !== null ? ` ${state.version}` : '';
  const restarts = more === null ? '' : `, ${more.server.engine.restarts} restarts of the engine`;
  return [
    ['Base', `${live.engine.base} (${live.engine.state})`],
    ['Stack', stackText(more?.server.stack ?? live.stack)], // a command's effect is told later
    ['Learning', learningText(live.learning, more)],
    ['Last latency', latencyText(facts)],
    ['Accepted', acceptanceText(live)],
    ['Server', `${NAME}${version}${restarts}`],
    ...(more === null ? [] : [['Kept in', more.server.home] as [string, string]]),
  ];
}

/** What a training does; else why there is none, where that is known, or how the last one ended. */
export function learningText(learning: Learning, more: More | null = null): string {
  if (learning.running)
    return `${jobName(learning.job)}: ${workText(learning)}, ${learning.percent} %`;
  if (more !== null && more.training.reason !== '') return more.training.reason;
  if (learning.paused) return 'paused';
  return learning.enabled ? workText(learning) : 'switched off';
}

/** A repository by the name of its folder; other jobs are named in words. */
export function jobName(job: string): string {
  return job.split(/[\\/]/).at(-1) ?? job;
}

/** The state of the present or the last training, with its step and message. */
export function workText({ state, step, steps, message }: Learning): string {
  const where = steps > 0 ? ` ${step}/${steps}` : '';
  return `${state}${where}${message === '' ? '' : `: ${message}`}`;
}

function acceptanceText({ acceptance, shown }: LiveStatus): string {
  return acceptance === null ? 'nothing shown yet' : `${percentText(acceptance)} of ${shown} shown`;
}

function latencyText({ live, latency }: Facts): string {
  if (latency === null) return 'nothing yet';
  const own =
    live?.latency_ms == null ? '' : `, ${Math.round(live.latency_ms)} ms of them in the server`;
  return `${Math.round(latency)} ms${own}`;
}

function tooltipOf(facts: Facts): string {
  return details(facts)
    .map(([name, value]) => `**${name}**: ${escape(value)}`)
    .join('  \n');
}

/** Text that Markdown shows as it is. */
function escape(text: string): string {
  return text.replace(/[\\`*_{}[\]()#+\-.!|<>~]/g, '\\$&');
}
