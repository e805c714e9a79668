/** Module actors. */
package ai.lram.runtime;
