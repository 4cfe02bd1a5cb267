import { describe, expect, it } from 'vitest';
import type { Message, Participant } from '../api';
import { fit, layout, timeLabel, toneOf } from './layout';

const party = (name: string, server = false): Participant => ({ name, address: '192.0.2.1:5060', proven: !server, server });
const PARTIES = [party('ann'), party('SIP server', true), party('media-1a2b3c4d-0'), party('cam1')];
const name = (participant: Participant): string => (participant.server ? 'SIP 서버' : participant.name);

function message(from: number, to: number, line: string, more: Partial<Message> = {}): Message {
  return { at: 1, from, to, line, cseq: '1 INVITE', facts: [], again: 0, ...more };
}

describe('the layout of a ladder', () => {
  it('fills the room it has with equally wide columns', () => {
    const { width, columns } = layout(PARTIES, [], 1200, name);
    const steps = columns.slice(1).map((column, at) => column.x - columns[at]!.x);
    expect(new Set(steps.map(Math.round)).size).toBe(1);
    expect(width).toBeCloseTo(1200);
    expect(columns.map(({ full }) => full)).toEqual(['ann', 'SIP 서버', 'media-1a2b3c4d-0', 'cam1']);
    expect(columns.map(({ server }) => server)).toEqual([false, true, false, false]);
  });

  it('never makes columns too narrow to read, nor absurdly wide', () => {
    const narrow = layout(PARTIES, [], 300, name);
    expect(narrow.width).toBeGreaterThan(300);
    expect(narrow.columns[1]!.x - narrow.columns[0]!.x).toBe(150);
    const wide = layout(PARTIES.slice(0, 2), [], 4000, name);
    expect(wide.columns[1]!.x - wide.columns[0]!.x).toBe(380);
  });

  it('puts messages below each other in their order, facts between them', () => {
    const facts = ['SDP: video H264 20000 sendonly', 'Warning: none'];
    const { rows, height, top } = layout(PARTIES, [message(0, 1, 'INVITE', { facts }), message(1, 0, '200 OK')], 900, name);
    expect(rows[0]!.y).toBeGreaterThan(top);
    const ys = [rows[0]!.y, ...rows[0]!.facts.map(({ y }) => y), rows[1]!.y];
    expect(ys).toEqual([...ys].sort((a, b) => a - b));
    expect(new Set(ys).size).toBe(4);
    expect(height).toBeGreaterThan(rows[1]!.y);
  });

  it('points the head of an arrow at who is spoken to', () => {
    const { rows, columns } = layout(PARTIES, [message(0, 3, 'ACK'), message(3, 0, '200 OK')], 900, name);
    const [there, back] = rows.map((row) => row.head.split(' ').map((corner) => Number(corner.split(',')[0])));
    expect(there![0]).toBeGreaterThan(there![1]!);
    expect(Math.abs(there![0]! - columns[3]!.x)).toBeLessThan(4);
    expect(back![0]).toBeLessThan(back![1]!);
    expect(Math.abs(back![0]! - columns[0]!.x)).toBeLessThan(4);
    expect(rows.map(({ labelX }) => labelX)).toEqual([columns[0]!.x + 10, columns[0]!.x + 10]);
  });

  it('keeps of an INVITE’s address the id where there is no room for all', () => {
    const line = 'INVITE sip:cam1@a-rather-long-domain.example';
    const [row] = layout(PARTIES, [message(0, 1, line)], 300, name).rows;
    expect(row!.label).toBe('INVITE cam1');
    expect(row!.words).toContain(line);
    const [spacious] = layout(PARTIES, [message(0, 3, line)], 1600, name).rows;
    expect(spacious!.label).toBe(line);
  });

  it('says how often a message came again, however long its line', () => {
    const long = message(0, 1, `486 ${'Busy '.repeat(40)}`, { again: 3 });
    const [row] = layout(PARTIES, [long], 600, name).rows;
    expect(row!.label).toMatch(/… ×4$/);
    expect(row!.words).toContain('×4');
  });

  it('says everything in words too', () => {
    const told = message(2, 1, '488 Not Acceptable Here', { facts: ['Warning: no video'] });
    const [row] = layout(PARTIES, [told], 900, name).rows;
    expect(row!.words).toBe('media-1a2b3c4d-0 → SIP 서버: 488 Not Acceptable Here; Warning: no video');
  });

  it('is never beyond its own edges', () => {
    const facts = ['x'.repeat(160)];
    for (const room of [200, 700, 1500]) {
      const made = layout(PARTIES, [message(3, 2, 'BYE', { facts }), message(0, 1, 'BYE', { facts })], room, name);
      for (const row of made.rows) {
        for (const x of [row.from, row.to, row.labelX]) expect(x).toBeLessThan(made.width);
        for (const fact of row.facts) expect(fact.x + fact.text.length * 6.6).toBeLessThanOrEqual(made.width);
      }
    }
  });

  it('bears a single participant, and no messages', () => {
    const { columns, rows, height } = layout(PARTIES.slice(0, 1), [], 500, name);
    expect(columns).toHaveLength(1);
    expect(rows).toEqual([]);
    expect(height).toBeGreaterThan(40);
  });
});

describe('a message’s tone', () => {
  it('is that of its kind', () => {
    const lines = ['INVITE sip:cam1@x', 'BYE', '100 Trying', '180 Ringing', '200 OK', '401 Unauthorized', '407 Proxy', '302 Moved', '486 Busy', '603 Decline'];
    expect(lines.map(toneOf)).toEqual(['request', 'request', 'progress', 'progress', 'good', 'ask', 'ask', 'bad', 'bad', 'bad']);
  });
});

describe('times', () => {
  it('are as exact as their size lets them be', () => {
    expect([0, 2.14, 999.94, 1234.5, 12_345, 123_456, 86_400_000].map(timeLabel)).toEqual([
      '0.0 ms',
      '2.1 ms',
      '999.9 ms',
      '1235 ms',
      '12.3 s',
      '123.5 s',
      '86400 s',
    ]);
  });
});

describe('fitting text', () => {
  it('cuts by letters, not inside of one', () => {
    expect(fit('카메라 하나', 30, 10)).toBe('카메…');
    expect(fit('🙂🙂🙂', 20, 10)).toBe('🙂…');
    expect(fit('short', 100)).toBe('short');
    expect(fit('anything', 0)).toBe('…');
  });
});
