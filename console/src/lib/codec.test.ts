import { describe, expect, it } from 'vitest';
import { codecName } from './codec';

describe('a codec', () => {
  it.each([
    ['hvc1.1.6.L93.B0', 'H.265 (hvc1.1.6.L93.B0)'],
    ['avc1.42C01F', 'H.264 (avc1.42C01F)'],
    ['vp09.00.10.08', 'vp09.00.10.08'],
    ['', ''],
  ])('%s is called %s', (codec, name) => {
    expect(codecName(codec)).toBe(name);
  });
});
