/**
 * What the status bar and the details say of the server and of learning. Pure.
 */
import type { ServerStatus, TrainingState } from '../protocol.ts';
import type { ServerState } from '../session.ts';
import { percentText, stackText, trainerText } from './rows.ts';

/** Everything that the status is made of. */
export interface Facts {
  state: ServerState;
  server: ServerStatus | null;
  training: TrainingState | null;
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
      return { text: `$(sync~spin) ${NAME}`, tooltip: 'The server is starting.', warns: false };
    case 'stopped':
      return { text: `$(circle-slash) ${NAME}`, tooltip: 'The server is stopped.', warns: false };
    case 'untrusted':
      return warning('off: workspace not trusted', 'Trust this workspace to use NeuralForge.');
    case 'missing':
      return warning('no server', 'Install the server of NeuralForge, or say where it lies.');
    case 'failed':
      return warning('server failed', state.message);
  }
}

function warning(short: string, tooltip: string): Look {
  return { text: `$(warning) ${NAME}: ${short}`, tooltip, warns: true };
}

function running(facts: Facts): Look {
  const { server, training } = facts;
  const tooltip = tooltipOf(facts);
  if (server === null || server.engine.state === 'starting') {
    return { text: `$(sync~spin) ${NAME}: loading`, tooltip, warns: false };
  }
  if (server.engine.state === 'failed') return { ...warning('engine failed', tooltip), tooltip };
  if (!facts.allowed) return { text: `$(circle-slash) ${NAME}: off here`, tooltip, warns: false };
  const parts = [NAME];
  if (training?.running === true && training.trainer !== null) {
    const paused = training.paused || training.trainer.state === 'paused';
    const share = training.trainer.steps > 0 ? ` ${training.trainer.percent} %` : '';
    parts.push(paused ? `$(debug-pause) learning${share}` : `$(mortar-board) learning${share}`);
  }
  if (facts.latency !== null) parts.push(`${Math.round(facts.latency)} ms`);
  return { text: `$(sparkle) ${parts.join(' · ')}`, tooltip, warns: false };
}

/** Name and value of everything that the details show. */
export function details(facts: Facts): [string, string][] {
  const { server, training, state } = facts;
  if (server === null) return [['Server', look(facts).tooltip]];
  const version = state.kind === 'running' && state.version !== null ? ` ${state.version}` : '';
  return [
    ['Base', `${server.engine.info?.name ?? server.engine.base} (${server.engine.state})`],
    ['Stack', stackText(server.stack)],
    ['Learning', learningText(training)],
    ['Last latency', facts.latency === null ? 'nothing yet' : `${Math.round(facts.latency)} ms`],
    ['Accepted', acceptanceText(server)],
    ['Server', `NeuralForge${version}, ${server.engine.restarts} restarts of the engine`],
    ['Kept in', server.home],
  ];
}

export function learningText(training: TrainingState | null): string {
  if (training === null) return 'unknown';
  if (!training.running || training.trainer === null) return training.reason;
  const { trainer } = training;
  return `${trainer.job}: ${trainerText(trainer)}, ${trainer.percent} %`;
}

/** How much of what was shown was taken, by the session log. */
export function acceptanceText({ log }: ServerStatus): string {
  if (log === null) return 'no session log';
  if ('error' in log) return `the session log cannot be read: ${log.error}`;
  const { shown, acceptance_rate } = log.overall;
  if (acceptance_rate === null) return 'nothing shown yet';
  return `${percentText(acceptance_rate)} of ${shown} shown`;
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
