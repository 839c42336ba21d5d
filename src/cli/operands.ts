/** Operands that several commands take. */
import type { OperandDescription } from './command.ts'

export const pathOperand: OperandDescription = {
  name: 'PATH',
  text: 'a snapshot file; a checkpoint directory: the newest whole generation of each environment; or the directory of a store, whose owner is asked if a process has it open',
}

export const keyOperand: OperandDescription = {
  name: 'KEY',
  text: 'partition/7/column/temp or \'["partition",7,"column","temp"]\'; in the first form 7 is a number, "7" a string',
}

export const prefixOperand: OperandDescription = {
  name: '[PREFIX]',
  text: 'the beginning of a key, written as a key is; all keys without it',
}
