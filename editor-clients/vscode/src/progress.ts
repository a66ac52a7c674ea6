/**
 * How the server's progress is shown: what the user fetched as a notice that can be cancelled,
 * the rest as VS Code does, but for trainings: nobody has to act on one, and the status item
 * shows how far it is.
 */
import { type Progress, ProgressLocation, window } from 'vscode';
import type {
  Middleware,
  ProgressToken,
  WorkDoneProgressBegin,
  WorkDoneProgressEnd,
  WorkDoneProgressReport,
} from 'vscode-languageclient';

/** How the server's titles begin. */
const TRAINING = 'Learning from ';
const DOWNLOAD = 'Fetching ';

type Handler = NonNullable<Middleware['handleWorkDoneProgress']>;
type Told = WorkDoneProgressBegin | WorkDoneProgressReport | WorkDoneProgressEnd;

/** Handles progress; `cancel` tells the server that the user stops what has this token. */
export function handleProgress(cancel: (token: ProgressToken) => void): Handler {
  const own = new Map<ProgressToken, (told: Told) => void>();
  return (token, told, next) => {
    if (told.kind === 'begin') {
      if (told.title.startsWith(TRAINING)) own.set(token, () => undefined);
      if (told.title.startsWith(DOWNLOAD))
        own.set(
          token,
          download(told.title, () => {
            cancel(token);
          }),
        );
    }
    const show = own.get(token);
    if (show === undefined) next(token, told);
    else show(told);
    if (told.kind === 'end') own.delete(token);
  };
}

/** A notice of a download, until its end is told. */
function download(title: string, cancel: () => void): (told: Told) => void {
  let shown: Progress<{ message?: string; increment?: number }> | undefined;
  let reached = 0;
  let end: () => void = () => undefined;
  const ended = new Promise<void>((resolve) => (end = resolve));
  const options = { location: ProgressLocation.Notification, cancellable: true, title };
  void window.withProgress(options, (progress, stop) => {
    shown = progress;
    stop.onCancellationRequested(cancel);
    return ended;
  });
  return (told) => {
    if (told.kind === 'end') {
      end();
      return;
    }
    const increment = Math.max(0, (told.percentage ?? reached) - reached);
    reached += increment;
    shown?.report({ increment, ...(told.message !== undefined && { message: told.message }) });
  };
}
