import assert from 'node:assert/strict';
import { test } from 'node:test';
import { acceptedUnits } from '../src/partial.ts';
import type { AdapterRow, LiveStatus } from '../src/protocol.ts';
import { privacyText } from '../src/views/privacyText.ts';
import { adapterRow, stackText } from '../src/views/rows.ts';
import { type Facts, details, look } from '../src/views/statusText.ts';

const LIVE: LiveStatus = {
  enabled: true,
  engine: { state: 'ready', base: 'embedded' },
  stack: [{ adapter: 'personal@v0003', scale: 0.5 }],
  learning: {
    enabled: true,
    running: false,
    paused: false,
    state: 'idle',
    job: '',
    percent: 0,
    step: 0,
    steps: 0,
    message: '',
    version: null,
  },
  latency_ms: 21,
  shown: 40,
  acceptance: 0.25,
};

function facts(more: Partial<Facts> = {}, live: Partial<LiveStatus> = {}): Facts {
  const state = { kind: 'running', version: '0.1.0' } as const;
  return { state, live: { ...LIVE, ...live }, latency: 63.4, allowed: true, ...more };
}

test('units of an accepted part are counted in UTF-16, line ends as one', () => {
  const shown = { id: 'a', text: 'x = "🎉"\nreturn x', start: 4 };
  assert.equal(acceptedUnits(shown, 12, '    x = "🎉"'), 8);
  assert.equal(acceptedUnits(shown, 20, '    x = "🎉"\r\nreturn'), 15);
});

test('what was typed instead is no part of a suggestion', () => {
  const shown = { id: 'a', text: 'return', start: 0 };
  assert.equal(acceptedUnits(shown, 3, 'rat'), 0);
  assert.equal(acceptedUnits(shown, 0, ''), 0);
});

test('the status bar shows the latency, and the details everything else', () => {
  assert.equal(look(facts()).text, '$(sparkle) NeuralForge · 63 ms');
  const shown = new Map(details(facts()));
  assert.equal(shown.get('Stack'), 'personal@v0003 × 0.5');
  assert.equal(shown.get('Accepted'), '25 % of 40 shown');
  assert.match(shown.get('Last latency') ?? '', /63 ms, 21 ms of them in the server/);
});

test('the status bar shows how far a training is, and that it is paused', () => {
  const learning = { ...LIVE.learning, running: true, state: 'training', steps: 20, percent: 35 };
  assert.match(look(facts({}, { learning })).text, /learning 35 %/);
  assert.match(look(facts({}, { learning: { ...learning, paused: true } })).text, /paused 35 %/);
});

test('a training names the folder that it learns from, or its job in words', () => {
  const running = { ...LIVE.learning, running: true, state: 'training', step: 3, steps: 20 };
  const said = (job: string) =>
    new Map(details(facts({}, { learning: { ...running, job, percent: 15 } }))).get('Learning');
  assert.equal(said('/home/me/work/parser'), 'parser: training 3/20, 15 %');
  assert.equal(said('C:\\work\\parser'), 'parser: training 3/20, 15 %');
  assert.equal(said('editing sessions'), 'editing sessions: training 3/20, 15 %');
});

test('only what the user has to act upon warns', () => {
  const missing = look(facts({ state: { kind: 'missing' }, live: null }));
  assert.ok(missing.warns && missing.text.includes('no server'));
  assert.ok(look(facts({ state: { kind: 'untrusted' }, live: null })).warns);
  assert.ok(look(facts({}, { engine: { state: 'failed', base: 'x' } })).warns);
  assert.ok(!look(facts({ allowed: false })).warns);
  assert.ok(!look(facts({}, { engine: { state: 'restarting', base: 'x' } })).warns);
});

test('a row of an adapter shows base, version, scale and what was measured', () => {
  const row: AdapterRow = {
    adapter: 'personal@v0003',
    name: 'personal',
    version: 3,
    current: true,
    scale: 0.5,
    base: 'embedded',
    fits: true,
    rank: 8,
    created: Date.UTC(2026, 10, 20, 10) / 1000,
    bytes: 2_400_000,
    em: 0.312,
    es: 0.7,
  };
  const shown = adapterRow(row);
  assert.equal(shown.description, 'embedded · current · loaded × 0.5');
  assert.match(shown.detail, /^exact 31 % · similar 70 % · rank 8 · 2 MB · .*2026/);
  assert.match(adapterRow({ ...row, fits: false }).detail, /another base/);
});

test('an empty stack is said in words', () => {
  assert.equal(stackText([]), 'no adapters');
});

test('the screen on privacy names the folder of this machine', () => {
  const text = privacyText({
    engine: { restarts: 0 },
    stack: [],
    home: '/home/me/nf',
    profile: 'own',
  });
  assert.match(text, /`\/home\/me\/nf`/);
  assert.match(text, /profiles\/own\/session\.db/);
  assert.match(privacyText(null), /neuralforge doctor/);
});
