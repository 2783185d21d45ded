package com.amazonaws.ml.mms;

import com.amazonaws.ml.mms.http.HttpRequestHandler;
import com.amazonaws.ml.mms.http.HttpRequestHandlerChain;
import com.amazonaws.ml.mms.http.InferenceRequestHandler;
import com.amazonaws.ml.mms.http.InvalidRequestHandler;
import com.amazonaws.ml.mms.http.ManagementRequestHandler;
import com.amazonaws.ml.mms.servingsdk.impl.PluginsManager;
import com.amazonaws.ml.mms.util.ConfigManager;
import com.amazonaws.ml.mms.util.ConnectorType;
import inpaint_server.front_door.PublicPortHandler;
import inpaint_server.front_door.RequestAggregator;
import io.netty.channel.Channel;
import io.netty.channel.ChannelInitializer;
import io.netty.channel.ChannelPipeline;
import io.netty.handler.codec.http.HttpServerCodec;
import io.netty.handler.ssl.SslContext;

/**
 * The handlers of each connection; replaces the model server's own class of this name.
 *
 * <p>The model server has no hook before it parses forms and none after the errors it writes itself. Its class path
 * begins with the folder that it is started in, where this class lies. On the public port {@link PublicPortHandler}
 * comes before the model server's handlers; the management port is unchanged. TLS ends before the container.
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
        pipeline.addLast("aggregator", new RequestAggregator(ConfigManager.getInstance().getMaxRequestSize()));
        PluginsManager plugins = PluginsManager.getInstance();
        HttpRequestHandlerChain handlers;
        if (connector == ConnectorType.MANAGEMENT_CONNECTOR) {
            handlers = new ManagementRequestHandler(plugins.getManagementEndpoints());
        } else {
            pipeline.addLast("public_port", new PublicPortHandler());
            handlers = new InferenceRequestHandler(plugins.getInferenceEndpoints());
        }
        handlers.setNextHandler(new InvalidRequestHandler());
        pipeline.addLast("handler", new HttpRequestHandler(handlers));
    }
}
