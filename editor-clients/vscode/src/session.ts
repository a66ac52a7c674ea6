/**
 * The life of the server in one window: found, started, watched, stopped.
 *
 * At most one server runs; whoever asks for a change waits for the one before. Nothing starts in
 * a workspace that is not trusted. Views learn of every change by `onDidChange`.
 */
import { type Disposable, EventEmitter, type LogOutputChannel, workspace } from 'vscode';
import type { LanguageClient } from 'vscode-languageclient/node';
import type { LiveStatus } from './protocol.ts';
import type { Launch } from './server/find.ts';
import type { Suggestions } from './suggestions.ts';

export type ServerState =
  | { kind: 'untrusted' }
  | { kind: 'missing' }
  | { kind: 'stopped' }
  | { kind: 'starting' }
  | { kind: 'running'; version: string | null }
  | { kind: 'failed'; message: string };

export interface SessionHooks {
  find: () => Promise<Launch | null>;
  suggestions: () => Suggestions;
  /** The server runs; `version` is what it says of itself. */
  started: (version: string | null) => void;
  closed: (restarts: boolean) => void;
  status: (live: LiveStatus) => void;
}

export class Session implements Disposable {
  private readonly changed = new EventEmitter<ServerState>();
  readonly onDidChange = this.changed.event;
  private current: ServerState = { kind: 'stopped' };
  private client: LanguageClient | null = null;
  private queue: Promise<void> = Promise.resolve();

  constructor(
    private readonly output: LogOutputChannel,
    private readonly hooks: SessionHooks,
  ) {}

  get state(): ServerState {
    return this.current;
  }

  /** Stops what runs and starts anew, with what is found now. */
  async restart(): Promise<void> {
    await this.inTurn(async () => {
      await this.end();
      await this.begin();
    });
  }

  async stop(): Promise<void> {
    await this.inTurn(() => this.end());
  }

  /** Asks the running server; the error of one that does not run says so. */
  async command<T>(name: string, ...args: unknown[]): Promise<T> {
    await this.queue;
    if (this.client === null) throw new Error(whyNot(this.current));
    return this.client.sendRequest<T>('workspace/executeCommand', {
      command: name,
      arguments: args,
    });
  }

  /** Tells the running server; without one there is nobody to tell. */
  tell(method: string, params: unknown): void {
    if (this.current.kind === 'running') void this.client?.sendNotification(method, params);
  }

  dispose(): void {
    this.changed.dispose();
  }

  private async inTurn(work: () => Promise<void>): Promise<void> {
    this.queue = this.queue.then(work, work);
    await this.queue;
  }

  private async begin(): Promise<void> {
    if (!workspace.isTrusted) {
      this.become({ kind: 'untrusted' });
      return;
    }
    const launch = await this.hooks.find();
    if (launch === null) {
      this.become({ kind: 'missing' });
      return;
    }
    this.become({ kind: 'starting' });
    this.output.info(`starting ${launch.command} ${launch.args.join(' ')}`);
    const { makeClient } = await import('./client.js');
    const client = makeClient(launch, this.output, this.hooks.suggestions().middleware, {
      closed: (restarts) => {
        this.become(restarts ? { kind: 'starting' } : failed('its process ended again and again'));
        this.hooks.closed(restarts);
      },
      status: this.hooks.status,
    });
    client.onDidChangeState(() => {
      if (client.isRunning()) this.running(client);
    });
    try {
      await client.start();
      this.client = client;
    } catch (error) {
      this.become(failed(error instanceof Error ? error.message : String(error)));
    }
  }

  private running(client: LanguageClient): void {
    const version = client.initializeResult?.serverInfo?.version ?? null;
    this.become({ kind: 'running', version });
    this.hooks.started(version);
  }

  private async end(): Promise<void> {
    const client = this.client;
    this.client = null;
    if (client !== null) await client.dispose();
    this.become({ kind: 'stopped' });
  }

  private become(state: ServerState): void {
    this.current = state;
    this.changed.fire(state);
  }
}

function failed(message: string): ServerState {
  return { kind: 'failed', message };
}

/** What to do where no server answers. */
export function whyNot(state: ServerState): string {
  switch (state.kind) {
    case 'untrusted':
      return 'NeuralForge is off in a workspace that you do not trust. Trust it to use it.';
    case 'missing':
      return 'The server of NeuralForge is not installed. Run “NeuralForge: Install the Server”.';
    case 'failed':
      return `The server of NeuralForge does not run: ${state.message}. Run “NeuralForge: Restart the Server”.`;
    default:
      return 'The server of NeuralForge does not run yet. Try again in a moment.';
  }
}
