/**
 * The memory-mapped trajectory store: one directory per store, fixed-width little-endian columns per task, a mapped
 * episode index, CRC32C per block, published atomically. Windows are slices of the mapping.
 */
package ai.lram.dataset.store;
