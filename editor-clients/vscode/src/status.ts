/**
 * What is known of the server now: asked for when something may have changed, told to the views.
 *
 * While the base loads or a training runs, the server is asked again every second; else it is
 * left alone.
 */
import { type Disposable, EventEmitter } from 'vscode';
import type { ServerStatus, TrainingState } from './protocol.ts';
import type { Session } from './session.ts';

const BUSY_MS = 1000;

export interface Snapshot {
  server: ServerStatus | null;
  training: TrainingState | null;
}

export class StatusModel implements Disposable {
  private readonly changed = new EventEmitter<void>();
  readonly onDidChange = this.changed.event;
  private snapshot: Snapshot = { server: null, training: null };
  private timer: NodeJS.Timeout | null = null;
  private asking: Promise<void> | null = null;

  constructor(private readonly session: Session) {}

  get now(): Snapshot {
    return this.snapshot;
  }

  /** Something that the views show has changed, nothing of the server's. */
  look(): void {
    this.changed.fire();
  }

  /** Asks the server anew; one question at a time. */
  refresh(): Promise<void> {
    this.asking ??= this.ask().finally(() => {
      this.asking = null;
    });
    return this.asking;
  }

  dispose(): void {
    if (this.timer !== null) clearTimeout(this.timer);
    this.changed.dispose();
  }

  private async ask(): Promise<void> {
    if (this.timer !== null) clearTimeout(this.timer);
    this.timer = null;
    if (this.session.state.kind !== 'running') {
      this.snapshot = { server: null, training: null };
    } else {
      try {
        const [server, training] = await Promise.all([
          this.session.command<ServerStatus>('neuralforge.status'),
          this.session.command<TrainingState>('neuralforge.train.state'),
        ]);
        this.snapshot = { server, training };
      } catch {
        // it ended while it was asked; its next start asks again
      }
      if (isBusy(this.snapshot)) this.timer = setTimeout(() => void this.refresh(), BUSY_MS);
    }
    this.changed.fire();
  }
}

function isBusy({ server, training }: Snapshot): boolean {
  return server?.engine.state === 'starting' || training?.running === true;
}
