package com.amazonaws.ml.mms;

import com.amazonaws.ml.mms.http.HttpRequestHandler;
import com.amazonaws.ml.mms.http.HttpRequestHandlerChain;
import com.amazonaws.ml.mms.http.InferenceRequestHandler;
import com.amazonaws.ml.mms.http.InvalidRequestHandler;
import com.amazonaws.ml.mms.http.ManagementRequestHandler;
import com.amazonaws.ml.mms.servingsdk.impl.PluginsManager;
import com.amazonaws.ml.mms.util.ConfigManager;
import com.amazonaws.ml.mms.util.ConnectorType;
import inpaint_server.front_door.Doorway;
import inpaint_server.front_door.Gatherer;
import io.netty.channel.Channel;
import io.netty.channel.ChannelInitializer;
import io.netty.channel.ChannelPipeline;
import io.netty.handler.codec.http.HttpServerCodec;
import io.netty.handler.ssl.SslContext;

/**
 * What a connection passes through, in the place of the model server's own class of this name.
 *
 * <p>The model server has no hook before it takes forms apart and none behind the errors it words
 * itself. Its class path begins with the folder that it is started in; this class lies there. On the
 * public port {@link Doorway} stands before the model server's handlers; its management is as ever.
 * TLS is for whoever stands before a container.
 */
public class ServerInitializer extends ChannelInitializer<Channel> {
    private final ConnectorType connector;

    public ServerInitializer(SslContext tls, ConnectorType connector) {
        this.connector = connector;
    }

    @Override
    public void initChannel(Channel channel) {
        ChannelPipeline pipeline = channel.pipeline();
        pipeline.addLast("http", new HttpServerCodec());
        pipeline.addLast("aggregator", new Gatherer(ConfigManager.getInstance().getMaxRequestSize()));
        PluginsManager plugins = PluginsManager.getInstance();
        HttpRequestHandlerChain handlers;
        if (connector == ConnectorType.MANAGEMENT_CONNECTOR) {
            handlers = new ManagementRequestHandler(plugins.getManagementEndpoints());
        } else {
            pipeline.addLast("doorway", new Doorway());
            handlers = new InferenceRequestHandler(plugins.getInferenceEndpoints());
        }
        handlers.setNextHandler(new InvalidRequestHandler());
        pipeline.addLast("handler", new HttpRequestHandler(handlers));
    }
}
