/** Arguments of processes that import one thing. */
export const imports = {
  ours: importing(new URL('../../../dist/index.js', import.meta.url).href),
  lmdb: importing(import.meta.resolve('lmdb')),
  nothing: ['--eval', ''],
}

/** @param {string} address */
function importing(address) {
  return ['--input-type=module', '--eval', `await import(${JSON.stringify(address)})`]
}
