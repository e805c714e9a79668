/** Every kernel again in plain Java, fp64 and as short as its formula: what the engines are compared with. */
package ai.lram.backend.reference;
