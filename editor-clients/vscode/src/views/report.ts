/**
 * The report page, in a webview: the server writes the page, this shows it.
 */
import { ViewColumn, window } from 'vscode';
import type { Session } from '../session.ts';

export async function showReport(session: Session): Promise<void> {
  const { html } = await session.command<{ html: string }>('neuralforge.report');
  const panel = window.createWebviewPanel(
    'neuralforge.report',
    'NeuralForge Report',
    ViewColumn.Active,
    {
      enableScripts: false,
    },
  );
  panel.webview.html = html;
}
