/** Messages and values shared by sessions, inference, recording and whoever connects robots: plain data, no tensors, no wire types. */
package ai.lram.runtime.protocol;
