/** Tensors, arenas, engines and typed errors of the numeric core. Knows nothing of agents, actions or data. */
package ai.lram.backend;
