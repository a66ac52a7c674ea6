/**
 * The connection to one server process, by vscode-languageclient.
 *
 * A bundle of its own, read when the server is started. It says once that a server died and was
 * started again, and gives up when that happens over and over. It knows no view and no command.
 */
import type { LogOutputChannel } from 'vscode';
import {
  CloseAction,
  ErrorAction,
  type ErrorHandler,
  LanguageClient,
  type LanguageClientOptions,
  type Middleware,
  type StaticFeature,
  WorkDoneProgressCancelNotification,
} from 'vscode-languageclient/node';
import { handleProgress } from './progress.ts';
import type { LiveStatus } from './protocol.ts';
import { CLIENT_SECTIONS } from './settings.ts';
import type { Launch } from './server/find.ts';

const RESTARTS = 4;
const WITHIN_MS = 180_000;

export interface Hooks {
  /** The server's process ended; `restarts` says whether it is started again. */
  closed: (restarts: boolean) => void;
  /** The server tells what its status is now. */
  status: (live: LiveStatus) => void;
}

/** Makes a client that is not yet started. */
export function makeClient(
  launch: Launch,
  output: LogOutputChannel,
  suggestions: Pick<Middleware, 'provideInlineCompletionItems'>,
  hooks: Hooks,
): LanguageClient {
  const options: LanguageClientOptions = {
    documentSelector: [
      { scheme: 'file' },
      { scheme: 'untitled' },
      { scheme: 'vscode-notebook-cell' },
    ],
    outputChannel: output,
    errorHandler: restarting(hooks),
    initializationFailedHandler: () => false,
    middleware: {
      ...suggestions,
      handleWorkDoneProgress: handleProgress((token) => {
        void client.sendNotification(WorkDoneProgressCancelNotification.type, { token });
      }),
      workspace: {
        configuration: async (params, token, next) => {
          const values: unknown = await next(params, token);
          return Array.isArray(values) ? values.map(withoutOwn) : [];
        },
      },
    },
  };
  const client = new LanguageClient('neuralforge', 'NeuralForge', launch, options);
  client.registerFeature(ASKS_FOR_STATUS);
  client.onNotification('neuralforge/status', hooks.status);
  return client;
}

/** The server tells its status only to clients that say that they show it. */
const ASKS_FOR_STATUS: StaticFeature = {
  fillClientCapabilities: (capabilities) => {
    capabilities.experimental = { neuralforge: { status: true } };
  },
  initialize: () => undefined,
  getState: () => ({ kind: 'static' }),
  clear: () => undefined,
};

function restarting(hooks: Hooks): ErrorHandler {
  const ends: number[] = [];
  return {
    error: () => ({ action: ErrorAction.Continue }),
    closed: () => {
      const now = Date.now();
      ends.push(now);
      const restarts = ends.filter((end) => now - end < WITHIN_MS).length <= RESTARTS;
      hooks.closed(restarts);
      return { action: restarts ? CloseAction.Restart : CloseAction.DoNotRestart, handled: true };
    },
  };
}

/** The server's settings: it names what it does not know to the user, and ours are none of it. */
function withoutOwn(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).filter(([name]) => !CLIENT_SECTIONS.includes(name)),
  );
}
