/** Module sim-bridge. */
package ai.lram.bridge;
