/**
 * What is known of the server now, as it tells by itself; told on to the views.
 */
import { type Disposable, EventEmitter } from 'vscode';
import type { LiveStatus, ServerStatus, TrainingState } from './protocol.ts';
import type { Session } from './session.ts';

/** What is asked for when the details are opened. */
export interface More {
  server: ServerStatus;
  training: TrainingState;
}

export class StatusModel implements Disposable {
  private readonly changed = new EventEmitter<void>();
  readonly onDidChange = this.changed.event;
  private live: LiveStatus | null = null;

  constructor(private readonly session: Session) {}

  /** The last that a running server told. */
  get now(): LiveStatus | null {
    return this.session.state.kind === 'running' ? this.live : null;
  }

  /** The server has told something new. */
  told(live: LiveStatus): void {
    this.live = live;
    this.changed.fire();
  }

  /** Another server comes: what the last one told does not hold. */
  forget(): void {
    this.live = null;
    this.changed.fire();
  }

  /** Something that the views show has changed, nothing of the server's. */
  look(): void {
    this.changed.fire();
  }

  /** What the live status does not have; null without a server that answers. */
  async more(): Promise<More | null> {
    if (this.session.state.kind !== 'running') return null;
    const [server, training] = await Promise.all([
      this.session.command<ServerStatus>('neuralforge.status'),
      this.session.command<TrainingState>('neuralforge.train.state'),
    ]);
    return { server, training };
  }

  dispose(): void {
    this.changed.dispose();
  }
}
