import { describe, expect, it } from 'vitest';
import { chooseLanguage, DICTIONARIES, LANGUAGES, translate, type Key } from './translate';

const keys = Object.keys(DICTIONARIES.en) as Key[];
const places = (text: string): string[] => [...text.matchAll(/\{(\w+)\}/g)].map((match) => match[1]!).sort();

describe('dictionaries', () => {
  it('have the same keys in every language', () => {
    for (const { code } of LANGUAGES) expect(Object.keys(DICTIONARIES[code]).sort()).toEqual([...keys].sort());
  });

  it('have no empty text, and the same places to fill in', () => {
    for (const { code } of LANGUAGES) {
      for (const key of keys) {
        expect(DICTIONARIES[code][key].trim(), `${code} ${key}`).not.toBe('');
        expect(places(DICTIONARIES[code][key]), `${code} ${key}`).toEqual(places(DICTIONARIES.en[key]));
      }
    }
  });

  it('speak Korean where they say so', () => {
    const same = keys.filter((key) => DICTIONARIES.ko[key] === DICTIONARIES.en[key]);
    expect(same).toEqual(['app.name']);
    for (const key of keys) if (key !== 'app.name') expect(DICTIONARIES.ko[key], key).toMatch(/[가-힣]|^\{start\}/);
  });

  it('hold nothing that no page says', () => {
    const files = import.meta.glob<string>('/src/**/*.{ts,svelte}', { query: '?raw', import: 'default', eager: true });
    const source = Object.entries(files)
      .filter(([name]) => !/i18n\/(en|ko)\.ts$|\.test\.ts$/.test(name))
      .map(([, text]) => text)
      .join('\n');
    // Keys built from a state or a reason are covered by their beginning: t(`state.${media}`).
    const begun = [...source.matchAll(/`([\w.]+\.)\$\{/g)].map((match) => match[1]!);
    const unused = keys.filter((key) => !source.includes(`'${key}'`) && !begun.some((start) => key.startsWith(start)));
    expect(unused).toEqual([]);
  });
});

describe('translate', () => {
  it('fills in names, and leaves one without a value to be seen', () => {
    expect(translate('en', 'grid.open', { name: 'Gate' })).toBe('Open Gate');
    expect(translate('ko', 'grid.open', { name: '정문' })).toBe('정문 열기');
    expect(translate('en', 'grid.open')).toBe('Open {name}');
  });

  it('takes values literally', () => {
    expect(translate('en', 'grid.open', { name: '$& {name}' })).toBe('Open $& {name}');
  });
});

describe('the first language', () => {
  it('is the remembered one', () => {
    expect(chooseLanguage('ko', ['en-US'])).toBe('ko');
  });

  it('else the first of the browser’s that we speak', () => {
    expect(chooseLanguage(null, ['fr-FR', 'ko-KR', 'en'])).toBe('ko');
    expect(chooseLanguage('xx', ['EN-gb'])).toBe('en');
  });

  it('else English', () => {
    expect(chooseLanguage(null, ['fr'])).toBe('en');
    expect(chooseLanguage(null, [])).toBe('en');
  });
});
