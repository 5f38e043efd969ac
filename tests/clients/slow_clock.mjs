// Loaded before a script: its clock is three hours behind.
const behind = 3 * 60 * 60 * 1000;
const Real = Date;

globalThis.Date = class extends Real {
  constructor(...given) {
    super(...(given.length > 0 ? given : [Real.now() - behind]));
  }

  static now() {
    return Real.now() - behind;
  }
};
