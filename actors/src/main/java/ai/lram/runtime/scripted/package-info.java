/** A policy without a model, for bringing up a robot's connection, for measuring it, and for tests. */
package ai.lram.runtime.scripted;
