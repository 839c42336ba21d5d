/** PostgreSQL over its Unix socket, defaults (synchronous_commit = on): joined keys, jsonb values, a batch is one upsert of arrays; up to 16 connections. */
import pg from 'pg'
import { joined } from '../harness/record.js'

export const server = 'postgresql'

const upsert =
  'INSERT INTO kv SELECT * FROM unnest($1::text[], $2::jsonb[]) ON CONFLICT (k) DO UPDATE SET v = excluded.v'

/** @param {string} _dir @param {string} address */
export async function open(_dir, address) {
  const client = new pg.Pool({ host: address, user: 'bench', database: 'postgres', max: 16 })
  await client.query('CREATE TABLE IF NOT EXISTS kv (k text COLLATE "C" PRIMARY KEY, v jsonb NOT NULL)')
  const putBatch = (records) =>
    client.query({
      name: 'upsert',
      text: upsert,
      values: [records.map(({ key }) => joined(key)), records.map(({ value }) => JSON.stringify(value))],
    })
  return {
    putBatch,
    put: (record) => putBatch([record]),
    get: async (key) => {
      const query = { name: 'get', text: 'SELECT v FROM kv WHERE k = $1', values: [joined(key)] }
      return (await client.query(query)).rows[0]?.v
    },
    list: async (prefix) => {
      const values = [`${joined(prefix)}/`, `${joined(prefix)}0`]
      const query = { text: 'SELECT k, v FROM kv WHERE k >= $1 AND k < $2', values, rowMode: 'array' }
      return (await client.query(query)).rows
    },
    empty: () => client.query('TRUNCATE kv'),
    close: () => client.end(),
  }
}
