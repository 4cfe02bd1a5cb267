/** What people call a codec, and in brackets what machines do (RFC 6381). */
const NAMES: Record<string, string> = { avc1: 'H.264', avc3: 'H.264', hvc1: 'H.265', hev1: 'H.265' };

export function codecName(codec: string): string {
  const name = NAMES[codec.slice(0, 4)];
  return name ? `${name} (${codec})` : codec;
}
