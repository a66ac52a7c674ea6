/**
 * The report page, in a webview: the server makes the page, this shows it and runs nothing of it.
 */
import { ViewColumn, window } from 'vscode';
import type { Session } from '../session.ts';

export async function showReport(session: Session): Promise<void> {
  const { html } = await session.command<{ html: string }>('neuralforge.report.write');
  const panel = window.createWebviewPanel(
    'neuralforge.report',
    'NeuralForge Report',
    ViewColumn.Active,
    { enableScripts: false, localResourceRoots: [] },
  );
  panel.webview.html = html;
}
